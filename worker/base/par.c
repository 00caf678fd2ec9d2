#include "worker/base/par.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct lane {
	struct par *par;
	pthread_t thread;
	int number;
};

struct par {
	int threads;
	struct lane *lane; /* [threads]; lane 0 is the caller's */
	int started;
	pthread_mutex_t mutex;
	pthread_cond_t begin, end;
	unsigned round; /* counts calls of par_run */
	int running;	/* lanes that have not finished this round */
	bool quit;
	par_fn *fn;
	void *arg;
	int tasks;
	atomic_int next;
	const volatile sig_atomic_t *stop; /* NULL: nothing is watched */
};

static bool is_stopped(const struct par *par)
{
	return par->stop != NULL && *par->stop;
}

static void work(struct par *par, int thread)
{
	while (!is_stopped(par)) {
		int task = atomic_fetch_add(&par->next, 1);

		if (task >= par->tasks)
			return;
		par->fn(par->arg, task, thread);
	}
}

static void *lane_main(void *arg)
{
	struct lane *lane = arg;
	struct par *par = lane->par;
	unsigned seen = 0;

	pthread_mutex_lock(&par->mutex);
	for (;;) {
		while (!par->quit && par->round == seen)
			pthread_cond_wait(&par->begin, &par->mutex);
		if (par->quit)
			break;
		seen = par->round;
		pthread_mutex_unlock(&par->mutex);
		work(par, lane->number);
		pthread_mutex_lock(&par->mutex);
		if (--par->running == 0)
			pthread_cond_signal(&par->end);
	}
	pthread_mutex_unlock(&par->mutex);
	return NULL;
}

int par_new(struct par **out, int threads, struct err *err)
{
	struct par *par = calloc(1, sizeof(*par));

	if (par == NULL)
		return err_nomem(err);
	par->threads = threads;
	pthread_mutex_init(&par->mutex, NULL);
	pthread_cond_init(&par->begin, NULL);
	pthread_cond_init(&par->end, NULL);
	par->lane = calloc((size_t)threads, sizeof(*par->lane));
	if (par->lane == NULL) {
		par_free(par);
		return err_nomem(err);
	}
	for (int i = 1; i < threads; i++) {
		struct lane *lane = &par->lane[i];

		lane->par = par;
		lane->number = i;
		if (pthread_create(&lane->thread, NULL, lane_main, lane) != 0) {
			par_free(par);
			return err_set(
				err, ERR_NO_MEMORY, NULL, "cannot start thread %d of %d", i + 1, threads);
		}
		par->started = i;
	}
	*out = par;
	return 0;
}

void par_free(struct par *par)
{
	if (par == NULL)
		return;
	pthread_mutex_lock(&par->mutex);
	par->quit = true;
	pthread_cond_broadcast(&par->begin);
	pthread_mutex_unlock(&par->mutex);
	for (int i = 1; i <= par->started; i++)
		pthread_join(par->lane[i].thread, NULL);
	pthread_cond_destroy(&par->begin);
	pthread_cond_destroy(&par->end);
	pthread_mutex_destroy(&par->mutex);
	free(par->lane);
	free(par);
}

int par_threads(const struct par *par)
{
	return par->threads;
}

void par_watch(struct par *par, const volatile sig_atomic_t *stop)
{
	par->stop = stop;
}

static bool run_alone(struct par *par, int tasks, par_fn *fn, void *arg)
{
	for (int i = 0; i < tasks; i++) {
		if (is_stopped(par))
			return false;
		fn(arg, i, 0);
	}
	return true;
}

bool par_run(struct par *par, int tasks, par_fn *fn, void *arg)
{
	if (par->threads == 1 || tasks == 1)
		return run_alone(par, tasks, fn, arg);
	pthread_mutex_lock(&par->mutex);
	par->fn = fn;
	par->arg = arg;
	par->tasks = tasks;
	atomic_store(&par->next, 0);
	par->running = par->threads - 1;
	par->round++;
	pthread_cond_broadcast(&par->begin);
	pthread_mutex_unlock(&par->mutex);
	work(par, 0);
	pthread_mutex_lock(&par->mutex);
	while (par->running > 0)
		pthread_cond_wait(&par->end, &par->mutex);
	pthread_mutex_unlock(&par->mutex);
	return atomic_load(&par->next) >= tasks;
}
