# SPDX-License-Identifier: GPL-2.0-only
"""What the python3 program runs: dictionaries, strings, objects, sorting, regular expressions, JSON."""
import json
import re
import sys


class Account:
    def __init__(self, name):
        self.name, self.balance = name, 0

    def deposit(self, amount):
        self.balance += amount
        return self


def primes(limit):
    sieve = [True] * limit
    for n in range(2, int(limit ** 0.5) + 1):
        if sieve[n]:
            sieve[n * n::n] = [False] * len(range(n * n, limit, n))
    return sum(sieve[2:])


def words(text):
    count = {}
    for word in re.findall(r"[a-z]+", text):
        count[word] = count.get(word, 0) + 1
    return sorted(count.items(), key=lambda pair: (-pair[1], pair[0]))[:5]


def queens(n, row=0, columns=0, left=0, right=0):
    if row == n:
        return 1
    found = 0
    for column in range(n):
        if not (columns >> column & 1 or left >> (row + column) & 1 or right >> (row - column + n) & 1):
            found += queens(n, row + 1, columns | 1 << column, left | 1 << (row + column), right | 1 << (row - column + n))
    return found


def main(rounds):
    with open("text") as file:
        text = file.read(200000)
    accounts = [Account("a%d" % i) for i in range(100)]
    for i in range(rounds):
        for k in range(10000):
            accounts[(k * 7 + i) % 100].deposit(k)
        table = {"round": i, "primes": primes(20000), "words": words(text[i % 10 * 20000:][:20000]), "queens": queens(6)}
        table["total"] = sum(account.balance for account in accounts)
        print(json.dumps(json.loads(json.dumps(table)), sort_keys=True))


main(int(sys.argv[1]))
