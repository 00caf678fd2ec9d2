/*
 * gate_bound: rule "bound" of the gate: a threshold counts as kept, or as broken, only where the test rows prove it.
 *
 *   CHECK        ITS CELLS, for every seed                                               BOUNDS OF
 *   max_asr      evaluation.asr; control.asr; asr of each by_trigger entry that was found     rate
 *   max_masr     every rate in by_trigger[].targets of the evaluation and of its control      rate
 *   max_ca_drop  ca_drop: only_undefended_right, only_defended_right of rows                  drop
 *   min_ca       evaluation.ca                                                                rate
 *
 * Every cell of every check that is asked for is bounded on both sides (common/bound.h), each side at .05 divided by
 * the number of cells that have rows (`tested`), so that all bounds of one side hold together with 95 %, however the
 * cells depend on each other. A check's bound is the highest of its cells' for max_*, the lowest for min_*. It is passed
 * where the far end is within the threshold, false where the near end is beyond it, else null. A cell without
 * rows is bounded by 0 and 1. Value and interval are the worst cell's; of triggers `worst` says
 * {among: "any" | "known" | "found" | "random", trigger, label}: any of the job's own and the found ones together, or one
 * that was named by the job, found by a scan, or drawn as a neutral word.
 *
 * `needed_rows`, of a check that is null: the smallest number of test rows at which these bounds would decide it if all
 * rates stayed what they are. null where the worst value lies on the threshold, where a cell has no rows, or
 * above GATE_ROWS_MAX.
 *
 * Counts are checked before they are used: what is no count makes its check unknown (value null), and so do more than
 * GATE_CELLS_MAX cells that differ in their total.
 */
#ifndef OBLIVIATE_COMMON_GATE_BOUND_H
#define OBLIVIATE_COMMON_GATE_BOUND_H

#include "common/gate.h"

enum { GATE_CELLS_MAX = 2048, GATE_ROWS_MAX = 10000000 };

/* Gives `out` its members confidence, checks and tested. -1 when out of memory. */
int gate_bound_judge(json_t *out, const json_t *report, const json_t *thresholds) MUST_USE;

#endif
