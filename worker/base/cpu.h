/* cpu: the processor's name, how many of them we may use, and the clock. No files are read. */
#ifndef OBLIVIATE_CPU_H
#define OBLIVIATE_CPU_H

enum { CPU_NAME_BYTES = 64 };

/* As the processor says it (x86), or the architecture. */
void cpu_name(char out[CPU_NAME_BYTES]);

/* Processors that this process may run on, at least 1. */
int cpu_count(void);

/* Seconds of a clock that never goes back; only differences mean something. */
double cpu_seconds(void);

#endif
