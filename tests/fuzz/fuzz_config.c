/* Any bytes as config.json: refused with a place, or every number lies in its range. */
#include "tests/fuzz/fuzz.h"

#include "worker/model/config.h"

static bool is_sane(const struct config *c)
{
	return c->V >= 1 && c->V <= CONFIG_VOCAB_MAX && c->D >= 1 && c->D <= CONFIG_HIDDEN_MAX && c->H >= 1 &&
	       c->D % c->H == 0 && c->L >= 1 && c->L <= CONFIG_LAYERS_MAX && c->F >= 1 &&
	       c->F <= CONFIG_INTERMEDIATE_MAX && c->P <= CONFIG_POSITIONS_MAX && c->types >= 1 &&
	       c->pad_id >= 0 && c->pad_id < c->V && c->max_tokens >= 4 &&
	       c->max_tokens + c->position_offset == c->P && c->layer_norm_eps > 0 &&
	       c->hidden_dropout >= 0 && c->hidden_dropout < 1 && c->attention_dropout >= 0 &&
	       c->attention_dropout < 1 && c->classifier_dropout >= 0 && c->classifier_dropout < 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = {0};
	struct config config;

	if (config_read(&config, fuzz_file("config.json", data, size), &err) != 0) {
		if (err.code == ERR_NONE || err.where[0] == '\0' || err.text[0] == '\0')
			abort();
		return 0;
	}
	if (!is_sane(&config))
		abort();
	return 0;
}
