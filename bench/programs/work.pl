# SPDX-License-Identifier: GPL-2.0-only
# What the perl program runs: hashes, regular expressions, string building, sorting, recursion.
use strict;
use warnings;

sub fibonacci { my ($n) = @_; return $n < 2 ? $n : fibonacci($n - 1) + fibonacci($n - 2); }

my $rounds = shift;
open my $file, '<', 'text' or die "text: $!";
read $file, my $text, 400000;
for my $round (1 .. $rounds) {
    my (%count, @lines);
    my $part = substr $text, ($round - 1) % 8 * 40000, 40000;
    $count{$1}++ while $part =~ /\b([a-z]{2,})\b/g;
    for my $word (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count) {
        (my $changed = $word) =~ tr/a-y/b-z/;
        push @lines, sprintf '%s=%d', ucfirst $changed, $count{$word};
    }
    my $joined = join ',', @lines;
    $joined =~ s/([aeiou])([^aeiou])/$2$1/g;
    print length $joined, ' ', substr($joined, 0, 60), ' ', fibonacci(15), "\n";
}
