#include "worker/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- before the sandbox ------------------------------------------------------------------------- */

int sandbox_mode_parse(enum sandbox_mode *out, const char *name, struct err *err)
{
	static const char *const names[] = {"require", "auto", "off"};

	for (size_t i = 0; i < NELEM(names); i++) {
		if (strcmp(name, names[i]) != 0)
			continue;
		*out = (enum sandbox_mode)i;
		return 0;
	}
	return err_set(err, ERR_USAGE, "--sandbox", "must be require, auto or off");
}

int sandbox_follow_parent(struct err *err)
{
	pid_t parent = getppid();

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		return err_errno(err, errno, NULL, "PR_SET_PDEATHSIG");
	if (getppid() != parent) /* it died between the two lines, and nobody will send the signal */
		return err_set(err, ERR_STOPPED, NULL, "the parent process is gone");
	return 0;
}

void sandbox_close_from(int first)
{
	if (syscall(SYS_close_range, (unsigned)first, ~0u, 0) == 0)
		return;
	for (int fd = first; fd < 65536; fd++) /* kernels before 5.9 */
		close(fd);
}

/* -1 where /proc is not mounted. */
static int count_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	int n = 0;

	if (dir == NULL)
		return -1;
	for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n;
}

static int check_single_thread(struct err *err)
{
	int n = count_threads();

	if (n < 0)
		return err_errno(err, errno, "/proc/self/task", "cannot count the threads");
	if (n != 1)
		return err_set(err, ERR_INTERNAL, NULL,
			"%d threads before the sandbox, which would stay outside", n);
	return 0;
}

/* --- rlimits ------------------------------------------------------------------------------------- */

static int lower_limits(struct err *err)
{
	static const struct {
		int resource;
		rlim_t value;
		const char *name;
	} limits[] = {
		{RLIMIT_CORE, 0, "RLIMIT_CORE"}, /* a core file would hold the model and the data */
		{RLIMIT_NOFILE, 256, "RLIMIT_NOFILE"},
		{RLIMIT_FSIZE, (rlim_t)64 << 30, "RLIMIT_FSIZE"},
	};

	signal(SIGXFSZ, SIG_IGN); /* so that the write fails with EFBIG, with a message */
	for (size_t i = 0; i < NELEM(limits); i++) {
		struct rlimit limit;

		if (getrlimit((__rlimit_resource_t)limits[i].resource, &limit) != 0)
			return err_errno(err, errno, limits[i].name, "getrlimit");
		limit.rlim_max = MIN(limit.rlim_max, limits[i].value);
		limit.rlim_cur = MIN(limit.rlim_cur, limit.rlim_max);
		if (setrlimit((__rlimit_resource_t)limits[i].resource, &limit) != 0)
			return err_errno(err, errno, limits[i].name, "setrlimit");
	}
	return 0;
}

/* --- landlock ------------------------------------------------------------------------------------ */

/*
 * Debian 12's header knows ABI 2; these are of later ones. The kernel takes a longer attribute than it knows
 * as long as the rest is 0, so one struct serves every ABI.
 */
#define ACCESS_TRUNCATE	    (1ull << 14) /* ABI 3 */
#define ACCESS_IOCTL_DEV    (1ull << 15) /* ABI 5 */
#define ACCESS_NET_BIND_TCP (1ull << 0)	 /* ABI 4 */
#define ACCESS_NET_CONN_TCP (1ull << 1)
#define SCOPE_ABSTRACT_UNIX (1ull << 0) /* ABI 6 */
#define SCOPE_SIGNAL	    (1ull << 1)
#define ACCESS_FS_ABI1	    ((1ull << 13) - 1) /* EXECUTE .. MAKE_SYM */

struct ruleset_attr {
	uint64_t fs;
	uint64_t net;	/* ABI 4 */
	uint64_t scope; /* ABI 6 */
};

static const uint64_t rights_read = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
static const uint64_t rights_write = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
				     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
				     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REFER | ACCESS_TRUNCATE;

static struct ruleset_attr handled_by(int abi)
{
	struct ruleset_attr attr = {.fs = ACCESS_FS_ABI1};

	if (abi >= 2)
		attr.fs |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		attr.fs |= ACCESS_TRUNCATE;
	if (abi >= 4)
		attr.net = ACCESS_NET_BIND_TCP | ACCESS_NET_CONN_TCP;
	if (abi >= 5)
		attr.fs |= ACCESS_IOCTL_DEV;
	if (abi >= 6)
		attr.scope = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
	return attr;
}

static int allow_dirs(int ruleset, const struct ruleset_attr *handled, const struct sandbox_dir *dir, int n)
{
	for (int i = 0; i < n; i++) {
		struct landlock_path_beneath_attr rule = {
			.allowed_access = (rights_read | (dir[i].may_write ? rights_write : 0)) & handled->fs,
			.parent_fd = dir[i].fd,
		};

		if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
			return -1;
	}
	return 0;
}

/* The ABI that holds from now on, or 0 with errno. */
static int enter_landlock(const struct sandbox_dir *dir, int n_dirs)
{
	int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct ruleset_attr handled = handled_by(abi);
	int ruleset, saved;
	bool holds;

	if (abi < 1)
		return 0;
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, sizeof(handled), 0);
	if (ruleset < 0)
		return 0;
	holds = allow_dirs(ruleset, &handled, dir, n_dirs) == 0 &&
		syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
	saved = errno;
	close(ruleset);
	errno = saved;
	return holds ? abi : 0;
}

/* --- seccomp ------------------------------------------------------------------------------------- */

/* Calls that need no look at their arguments. */
static const int calls_allowed[] = {
	/* files, below the directories that landlock leaves */
	SCMP_SYS(openat),
	SCMP_SYS(close),
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(pread64),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	SCMP_SYS(pwrite64),
	SCMP_SYS(lseek),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(statx),
	SCMP_SYS(fstatfs),
	SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2),
	SCMP_SYS(getdents64),
	SCMP_SYS(ftruncate),
	SCMP_SYS(fallocate),
	SCMP_SYS(fadvise64),
	SCMP_SYS(fsync),
	SCMP_SYS(fdatasync),
	SCMP_SYS(renameat),
	SCMP_SYS(renameat2),
	SCMP_SYS(unlinkat),
	SCMP_SYS(mkdirat),
	SCMP_SYS(dup),
	SCMP_SYS(flock),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	/* memory */
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(msync),
	SCMP_SYS(mincore),
	/* threads and time */
	SCMP_SYS(futex),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(get_robust_list),
	SCMP_SYS(set_tid_address),
	SCMP_SYS(rseq),
	SCMP_SYS(membarrier),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(sched_setaffinity),
	SCMP_SYS(getcpu),
	SCMP_SYS(gettid),
	SCMP_SYS(getpid),
	SCMP_SYS(getppid),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(nanosleep),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(getrusage),
	SCMP_SYS(times),
	/* signals that it sends itself, and the end */
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	/* what it may know about itself and the machine */
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(uname),
	SCMP_SYS(sysinfo),
	SCMP_SYS(getrandom),
};

/* Calls that only an intruder makes. */
static const int calls_deadly[] = {
	SCMP_SYS(socket),
	SCMP_SYS(socketpair),
	SCMP_SYS(connect),
	SCMP_SYS(bind),
	SCMP_SYS(listen),
	SCMP_SYS(accept),
	SCMP_SYS(accept4),
	SCMP_SYS(sendto),
	SCMP_SYS(sendmsg),
	SCMP_SYS(sendmmsg),
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(fork),
	SCMP_SYS(vfork),
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(kcmp),
	SCMP_SYS(mount),
	SCMP_SYS(umount2),
	SCMP_SYS(pivot_root),
	SCMP_SYS(chroot),
	SCMP_SYS(unshare),
	SCMP_SYS(setns),
	SCMP_SYS(open_by_handle_at),
	SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(keyctl),
	SCMP_SYS(add_key),
	SCMP_SYS(request_key),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(kexec_load),
	SCMP_SYS(setuid),
	SCMP_SYS(setgid),
	SCMP_SYS(setresuid),
	SCMP_SYS(setresgid),
};

#define NEW_NAMESPACE                                                                                        \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |        \
		CLONE_NEWNET)

/* Calls allowed for certain arguments only: `mask` bits of argument `argument` must equal `value`. */
struct call_if {
	int call;
	unsigned argument;
	uint64_t mask, value;
};

static const struct call_if calls_allowed_if[] = {
	{SCMP_SYS(mmap), 2, PROT_EXEC, 0},
	{SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
	{SCMP_SYS(clone), 0, CLONE_THREAD | NEW_NAMESPACE, CLONE_THREAD},
	{SCMP_SYS(prlimit64), 2, ~0ull, 0}, /* reads limits, sets none */
	{SCMP_SYS(prctl), 0, ~0ull, PR_SET_NAME},
	{SCMP_SYS(ioctl), 1, 0xffffffff, TCGETS}, /* stdio asks whether its output is a terminal */
	{SCMP_SYS(fcntl), 1, 0xffffffff, F_GETFD},
	{SCMP_SYS(fcntl), 1, 0xffffffff, F_SETFD},
	{SCMP_SYS(fcntl), 1, 0xffffffff, F_GETFL},
	{SCMP_SYS(fcntl), 1, 0xffffffff, F_DUPFD_CLOEXEC},
};

static int add_calls(scmp_filter_ctx filter, uint32_t action, const int *call, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int rc = seccomp_rule_add(filter, action, call[i], 0);

		if (rc != 0)
			return rc;
	}
	return 0;
}

static int add_calls_if(scmp_filter_ctx filter, const struct call_if *row, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct scmp_arg_cmp is = {row[i].argument, SCMP_CMP_MASKED_EQ, row[i].mask, row[i].value};
		int rc = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, row[i].call, 1, &is);

		if (rc != 0)
			return rc;
	}
	return 0;
}

static int add_rules(scmp_filter_ctx filter)
{
	/* abort and pthread_kill: a signal to a thread of our own. */
	struct scmp_arg_cmp is_self = {0, SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0};
	int rc;

	/* Kernels before 5.16 would slow the process down (speculative store bypass); those that don't know
	 * the flag don't, so its refusal is no failure. */
	(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
	rc = add_calls(filter, SCMP_ACT_ALLOW, calls_allowed, NELEM(calls_allowed));
	if (rc == 0)
		rc = add_calls(filter, SCMP_ACT_KILL_PROCESS, calls_deadly, NELEM(calls_deadly));
	if (rc == 0)
		rc = add_calls_if(filter, calls_allowed_if, NELEM(calls_allowed_if));
	if (rc == 0)
		rc = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, &is_self);
	/* clone3 hides its flags in memory; "not implemented" sends the C library to clone. */
	if (rc == 0)
		rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return rc;
}

/* 0, or a negative errno. */
static int enter_seccomp(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc;

	if (filter == NULL)
		return -ENOMEM;
	rc = add_rules(filter);
	if (rc == 0)
		rc = seccomp_load(filter);
	seccomp_release(filter);
	return rc;
}

/* --- all of it ------------------------------------------------------------------------------------ */

/* LeakSanitizer traces its own process at exit, which is a deadly call inside. */
#if defined(__SANITIZE_ADDRESS__)
#define HAS_LEAK_CHECK
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_LEAK_CHECK
#endif
#endif
#ifdef HAS_LEAK_CHECK
static bool is_leak_check_off;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return is_leak_check_off;
}
#endif

static void turn_leak_check_off(void)
{
#ifdef HAS_LEAK_CHECK
	is_leak_check_off = true;
#endif
}

static void describe(struct sandbox_state *state)
{
	char text[sizeof(state->text) + 1], abi[32];

	snprintf(abi, sizeof(abi), "+landlock(abi %d)", state->landlock_abi);
	snprintf(text, sizeof(text), "%s%s%s", state->no_new_privs ? "+no_new_privs" : "",
		state->seccomp ? "+seccomp" : "", state->landlock_abi > 0 ? abi : "");
	snprintf(state->text, sizeof(state->text), "%s", text[0] != '\0' ? text + 1 : "off");
}

static int missing(enum sandbox_mode mode, const char *what, int saved_errno, struct err *err)
{
	if (mode != SANDBOX_REQUIRE)
		return 0;
	return err_set(err, ERR_SANDBOX, what,
		"not available here (%s); --sandbox auto runs with what there is", strerror(saved_errno));
}

int sandbox_enter(struct sandbox_state *out, enum sandbox_mode mode, const struct sandbox_dir *dir,
	int n_dirs, struct err *err)
{
	int rc;

	*out = (struct sandbox_state){0};
	describe(out);
	if (mode == SANDBOX_OFF)
		return 0;
	rc = check_single_thread(err);
	if (rc == 0)
		rc = lower_limits(err);
	if (rc != 0)
		return rc;

	out->no_new_privs = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
	if (!out->no_new_privs)
		rc = missing(mode, "no_new_privs", errno, err);
	if (rc != 0)
		return rc;
	out->landlock_abi = enter_landlock(dir, n_dirs);
	if (out->landlock_abi == 0)
		rc = missing(mode, "landlock", errno, err);
	if (rc != 0)
		return rc;
	rc = enter_seccomp();
	out->seccomp = rc == 0;
	if (!out->seccomp)
		rc = missing(mode, "seccomp", -rc, err);
	if (rc != 0)
		return rc;
	if (out->seccomp)
		turn_leak_check_off();
	describe(out);
	return 0;
}
