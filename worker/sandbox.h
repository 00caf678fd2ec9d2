/*
 * sandbox: what the process gives up before it reads a byte that a stranger wrote.
 *
 *   rlimits        no core file, few descriptors, bounded files
 *   no_new_privs   no set-uid program can raise it again
 *   landlock       of the file system only the directories that the caller names, read-only or read/write
 *   seccomp        only the system calls of a program that computes: no sockets, no new program, no fork,
 *                  no tracing, no executable memory
 *
 * landlock and seccomp bind the calling thread and the threads that it starts afterwards. A library that starts
 * threads in a constructor, before main, would leave them outside: so sandbox_enter refuses a process that
 * already has a second thread.
 *
 * A call outside the list fails with EPERM, so that a library that only probes goes on. A call that nothing
 * but an intruder makes (sockets, exec, ptrace, mount, ...) kills the process: SIGSYS is louder than an error
 * that an exploit could handle.
 *
 * What stays open: descriptors 0 to 2, the named directories, memory, threads and the clock.
 */
#ifndef OBLIVIATE_SANDBOX_H
#define OBLIVIATE_SANDBOX_H

#include "common/err.h"

enum sandbox_mode {
	SANDBOX_REQUIRE, /* no_new_privs, seccomp and landlock of any ABI, or an error */
	SANDBOX_AUTO,	 /* what the kernel has */
	SANDBOX_OFF,	 /* nothing, for debuggers */
};

/* A directory that stays reachable. */
struct sandbox_dir {
	int fd;
	bool may_write;
};

/* What held. */
struct sandbox_state {
	bool no_new_privs;
	bool seccomp;
	int landlock_abi; /* 0: none */
	char text[64];	  /* for the report: "no_new_privs+seccomp+landlock(abi 7)", or "off" */
};

/* "require", "auto", "off"; else ERR_USAGE. */
int sandbox_mode_parse(enum sandbox_mode *out, const char *name, struct err *err) MUST_USE;

/* Let the kernel kill this process when its parent dies; ERR_STOPPED when the parent is gone already. */
int sandbox_follow_parent(struct err *err) MUST_USE;

/* Close every descriptor from `first` on. */
void sandbox_close_from(int first);

/* Enter, once, single-threaded. ERR_SANDBOX where `mode` asks for more than the kernel has. */
int sandbox_enter(struct sandbox_state *out, enum sandbox_mode mode, const struct sandbox_dir *dir,
	int n_dirs, struct err *err) MUST_USE;

#endif
