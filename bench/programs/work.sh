# SPDX-License-Identifier: GPL-2.0-only
# What the shell program runs: loops, arithmetic, functions, pipes of small programs.
sum=0
add() { sum=$((sum + $1)); }
i=0
while [ $i -lt $(($1 * 3000)) ]; do
    case $i in
    *7) add 7 ;;
    *) add "${i%?}1" ;;
    esac
    i=$((i + 1))
done
echo $sum
i=0
while [ $i -lt $(($1 * 10)) ]; do
    head -n $((i + 20)) text | grep e | cut -d ' ' -f 2,3 | sed 's/a/A/g' | wc
    name=$(echo "$i" | tr 0-9 a-j)
    echo "$name" >"file.$name"
    i=$((i + 1))
done
cat file.* | sort | wc
rm -f file.*
