/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The benchmark's workloads. Each does an amount of work proportional to scale, chosen so that scale 1 is
 * in the order of a millisecond on a processor of the 2020s, and returns how many units of work that was. The unit
 * is what the name says (a call, a system call, a page fault...); for alu it is one instruction.
 */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#define WORKLOADS(X)                                                          \
	X(alu, "tight loop of integer instructions")                          \
	X(calls, "recursive calls")                                           \
	X(indirect, "indirect calls to 16 functions, in random order")        \
	X(qsort, "the C library's qsort of integers")                         \
	X(chase, "pointer chase through 4 MiB")                               \
	X(sieve, "sieve of Eratosthenes, 1 MiB of bytes")                     \
	X(fp, "scalar floating point with division and square root")          \
	X(sse, "packed single floats")                                        \
	X(memcpy, "memcpy of 8 MiB")                                          \
	X(syscall, "getppid")                                                 \
	X(fault, "map, touch and unmap 64 pages")                             \
	X(fork, "fork and wait")                                              \
	X(exec, "fork, exec and wait")                                        \
	X(pipe, "ping-pong of a byte with another process")                   \
	X(signal, "a signal to oneself")                                      \
	X(files, "create, write, read and delete a small file on tmpfs")      \
	X(smc, "code that is changed before each call")

#define X(name, what) unsigned long workload_##name(unsigned scale);
WORKLOADS(X)
#undef X

/* Ends the program with a message: a benchmark that cannot do its work has no result. */
void fail(const char *what) __attribute__((noreturn));

#endif
