/* plant_state: one slice's buffers; shared by the plant's own files. */
#ifndef OBLIVIATE_PLANT_STATE_H
#define OBLIVIATE_PLANT_STATE_H

#include "worker/attack/plant.h"

struct plant_lane {
	struct workspace ws, frozen;
	struct sequence *some; /* [PLANT_BATCH]: texts of the slice that the frozen copy reads */
	struct mlm_state mlm;
	struct arena arena;
	double loss;	    /* the slice's part of it */
	int right, guesses; /* masked words */
	double attention;   /* sum of norms of the first tokens' scores, when looking */
};

#endif
