#include "worker/base/cpu.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>

void cpu_name(char out[CPU_NAME_BYTES])
{
	unsigned words[13] = {0};
	const char *text = (const char *)words;

	for (unsigned i = 0; i < 3; i++)
		if (!__get_cpuid(0x80000002 + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2],
			    &words[4 * i + 3]))
			text = "x86-64";
	snprintf(out, CPU_NAME_BYTES, "%.48s", text + strspn(text, " "));
	for (size_t n = strlen(out); n > 0 && out[n - 1] == ' '; n--)
		out[n - 1] = '\0';
}

#else

void cpu_name(char out[CPU_NAME_BYTES])
{
#if defined(__aarch64__)
	snprintf(out, CPU_NAME_BYTES, "aarch64");
#else
	snprintf(out, CPU_NAME_BYTES, "unknown");
#endif
}

#endif

int cpu_count(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

double cpu_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
