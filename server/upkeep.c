#include "server/upkeep.h"

#include "common/log.h"

enum {
	LOOK_MS = 500,
	PAGES_MAX = 1000, /* 4 MiB of log: SQLite's own threshold */
};

static void checkpoint(uv_work_t *work)
{
	struct upkeep *upkeep = work->data;

	upkeep->rc = store_checkpoint(upkeep->store, &upkeep->err);
}

static void checkpointed(uv_work_t *work, int status)
{
	struct upkeep *upkeep = work->data;

	(void)status;
	upkeep->is_working = false;
	if (upkeep->rc != 0)
		log_err(LOG_ERROR, "checkpoint", &upkeep->err);
}

static void look(uv_timer_t *timer)
{
	struct upkeep *upkeep = timer->data;

	if (upkeep->is_working || store_log_pages(upkeep->store) < PAGES_MAX)
		return;
	upkeep->is_working = uv_queue_work(timer->loop, &upkeep->work, checkpoint, checkpointed) == 0;
}

void upkeep_start(struct upkeep *upkeep, uv_loop_t *loop, struct store *store)
{
	*upkeep = (struct upkeep){.store = store};
	upkeep->work.data = upkeep;
	uv_timer_init(loop, &upkeep->timer);
	upkeep->timer.data = upkeep;
	uv_timer_start(&upkeep->timer, look, LOOK_MS, LOOK_MS);
	uv_unref((uv_handle_t *)&upkeep->timer);
}

void upkeep_stop(struct upkeep *upkeep)
{
	uv_close((uv_handle_t *)&upkeep->timer, NULL);
}
