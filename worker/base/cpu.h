/* cpu: the processor's name, without any file. */
#ifndef OBLIVIATE_CPU_H
#define OBLIVIATE_CPU_H

enum { CPU_NAME_BYTES = 64 };

/* As the processor says it (x86), or the architecture. */
void cpu_name(char out[CPU_NAME_BYTES]);

#endif
