/*
 * real: the number that kernels compute with. float in the product; the test program compiles the same
 * kernels a second time with OBLIVIATE_DOUBLE, so that gradient checks run at 1e-9 and not 1e-3.
 */
#ifndef OBLIVIATE_REAL_H
#define OBLIVIATE_REAL_H

#include "common/base.h"

#ifdef OBLIVIATE_DOUBLE
typedef double real;
#else
typedef float real;
#endif

#endif
