-- SPDX-License-Identifier: GPL-2.0-only
-- What the sqlite3 program runs, in memory; @rows is set by its caller.
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, kind INTEGER, price REAL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < @rows)
  INSERT INTO item SELECT i, 'item ' || (i * 7919 % 100003), i % 97, i * 0.25 FROM n;
CREATE INDEX by_kind ON item(kind, price);
CREATE INDEX by_name ON item(name);
SELECT kind, count(*), sum(price), max(name) FROM item GROUP BY kind ORDER BY 3 DESC LIMIT 5;
SELECT count(*) FROM item a JOIN item b ON b.name = 'item ' || a.id WHERE a.kind < 40;
UPDATE item SET price = price * 1.5 WHERE kind % 3 = 0;
SELECT name, price FROM item WHERE name LIKE '%77%' ORDER BY price DESC LIMIT 5;
DELETE FROM item WHERE id % 4 = 0;
SELECT count(*), total(price) FROM item;
