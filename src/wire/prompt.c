/* prompt.c - the chained hash of a prompt. Not for secrets: two prompts of an attacker may be made
 * to collide, which gains nothing but a badly chosen replica. */
#include "openai_scan.h"

#include <string.h>

#define MULTIPLIER 0x9e3779b97f4a7c15ULL

static uint64_t finish(uint64_t h)
{
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ULL;
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93ULL;
	return h ^ h >> 32;
}

static void take_word(struct gt_prompt_hash *h, uint64_t word)
{
	h->state = (h->state ^ word) * MULTIPLIER;
	h->state ^= h->state >> 29;
}

/* Words start at multiples of eight bytes of the prompt, wherever a feed was cut. */
static const char *take_bytes(struct gt_prompt_hash *h, const char *p, const char *end)
{
	while (p < end && (h->in_block % 8 || end - p < 8) && h->in_block < GT_PROMPT_BLOCK) {
		h->word |= (uint64_t)(unsigned char)*p++ << h->in_block % 8 * 8;
		if (++h->in_block % 8 == 0) {
			take_word(h, h->word);
			h->word = 0;
		}
	}
	while (end - p >= 8 && h->in_block % 8 == 0 && h->in_block < GT_PROMPT_BLOCK) {
		uint64_t word;

		memcpy(&word, p, sizeof(word));
		take_word(h, word); /* little-endian, like the bytes above */
		h->in_block += 8;
		p += 8;
	}
	return p;
}

void gt_prompt_add(struct gt_openai_scan *s, const char *data, size_t len)
{
	struct gt_prompt_taps *t = &s->ask.prompt;
	const char *p = data, *end = data + len;

	t->bytes += len;
	while (p < end && t->n < GT_PROMPT_TAPS) {
		p = take_bytes(&s->hash, p, end);
		if (s->hash.in_block < GT_PROMPT_BLOCK)
			continue;
		t->tap[t->n++] = finish(s->hash.state);
		s->hash.in_block = 0;
	}
}
