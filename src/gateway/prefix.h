/* prefix.h - which replica has the beginning of a prompt in its cache, as far as the gateway can
 * tell: engines keep the work that they did for a prompt and do not repeat it for the next one that
 * begins alike. One bounded table for a function; pure.
 *
 * A replica costs the prompt's bytes that it has not seen, plus GT_PREFIX_CALL_BYTES for each call
 * that it serves; the cheapest is taken (choice.c), within a bound of load: a popular beginning
 * must not make one replica the only one that works. */
#ifndef GANTRY_GATEWAY_PREFIX_H
#define GANTRY_GATEWAY_PREFIX_H

#include <gantry/wire/openai.h>

#define GT_PREFIX_ENTRIES 4096 /* taps remembered of a function: 1 MiB of prompts */
#define GT_PREFIX_OWNERS  4    /* replicas remembered of a tap, those used last */
#define GT_PREFIX_MATCHES 16   /* replicas found for a prompt */
/* So much new prompt delays a call as one does that runs already. */
#define GT_PREFIX_CALL_BYTES 4096

struct gt_prefixes;

struct gt_prefix_match {
	uint32_t n;
	struct {
		uint64_t replica;
		uint32_t bytes; /* of the prompt's beginning that it has seen */
	} at[GT_PREFIX_MATCHES];
};

struct gt_prefixes *gt_prefixes_new(size_t entries_max);
void gt_prefixes_free(struct gt_prefixes *p); /* NULL is fine */
/* p may be NULL: nothing is known. */
void gt_prefixes_match(const struct gt_prefixes *p, const struct gt_prompt_taps *prompt,
		       struct gt_prefix_match *ret);
/* The replica was given the prompt. The taps used longest ago are forgotten first. Replicas are
 * hashes of their ids; one that is gone is never asked for and fades. */
void gt_prefixes_took(struct gt_prefixes *p, const struct gt_prompt_taps *prompt, uint64_t replica);

/* Lower is better; only differences mean something. */
int64_t gt_prefix_cost(const struct gt_prefix_match *m, uint64_t replica, uint32_t in_flight);

#endif
