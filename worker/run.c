#include "worker/run.h"

int run_job(struct run *run, struct err *err)
{
	(void)run;
	return err_set(err, ERR_UNSUPPORTED, NULL, "training is not built yet");
}
