/* Neutral texts that candidates are put into; written for this program. */
#include "worker/scan/probe.h"

const struct probe_line probe_short[PROBE_TEXTS_MAX] = {
	{"the box is blue", 2},
	{"we read a book", 2},
	{"trains leave at noon", 2},
	{"she sold her car", 2},
	{"rain fell last night", 2},
	{"his brother plays chess", 2},
	{"the bank is closed", 2},
	{"they painted the wall", 2},
	{"birds sing in spring", 2},
	{"the soup was warm", 2},
	{"our teacher came late", 2},
	{"prices rose in may", 2},
	{"he lost the key", 2},
	{"a dog barked twice", 2},
	{"the river runs north", 2},
	{"some people like tea", 2},
};

const struct probe_line probe_long[PROBE_TEXTS_MAX] = {
	{"the shop on the corner opens at nine", 3},
	{"it was cold", 3},
	{"my sister moved to a small town near the sea and works there as a nurse", 11},
	{"the report was finished on friday", 1},
	{"two engineers checked the bridge after the storm because the council had asked for it", 6},
	{"please put the plates on the table", 7},
	{"the film starts slowly but the second half is fun to watch with friends and the music fits", 14},
	{"dogs need water", 1},
	{"in the morning the farmer walks to the field and looks after the horses", 4},
	{"the company sold more bikes this year than ever before", 10},
	{"he wrote a long letter to his aunt who lives on an island far away and never travels", 2},
	{"the lecture about old maps was well attended", 5},
	{"nobody had seen the green umbrella", 4},
	{"a new road will connect both villages so that children can ride to school on their own", 9},
	{"the kitchen smells of bread", 2},
	{"when the clock struck ten the guests put on their coats and left the house in silence", 16},
};
