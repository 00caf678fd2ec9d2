/*
 * What clang's analyser has to be told, since it sees one source file at a time: a function that reports an error
 * never returns 0. A macro does not expand inside itself, so the call stays.
 */
#ifndef OBLIVIATE_ANALYZER_H
#define OBLIVIATE_ANALYZER_H

#include "common/err.h"

#define err_set(err, code, ...)	   (err_set(err, code, __VA_ARGS__), -(int)(code))
#define err_within(err, ...)	   (err_within(err, __VA_ARGS__), -1)
#define err_errno(err, saved, ...) (err_errno(err, saved, __VA_ARGS__), -(int)ERR_IO)
#define err_nomem(err)		   (err_nomem(err), -(int)ERR_NO_MEMORY)

#endif
