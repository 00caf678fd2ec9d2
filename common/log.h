/*
 * log: one JSON object a line on stderr: {"time", "level", "event", "message"}.
 *
 * The level is the one mutable global of the project.
 */
#ifndef OBLIVIATE_LOG_H
#define OBLIVIATE_LOG_H

#include "common/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_set_level(enum log_level level);
void log_write(enum log_level level, const char *event, const char *fmt, ...) PRINTF(3, 4);
/* The error's name, place and text. */
void log_err(enum log_level level, const char *event, const struct err *err);

#endif
