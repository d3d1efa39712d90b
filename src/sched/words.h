/* words.h - a free GPU, and a score, each in one word. */
#ifndef GANTRY_SCHED_WORDS_H
#define GANTRY_SCHED_WORDS_H

#include <stddef.h>
#include <stdint.h>

/* A free GPU in 32 bits, so that sorting them sorts by kind, then by what is free. */
static inline uint32_t gpu_code(unsigned kind, unsigned milli, uint32_t mib)
{
	return kind << 30 | milli << 20 | mib;
}
static inline unsigned code_kind(uint32_t code)
{
	return code >> 30;
}
static inline unsigned code_milli(uint32_t code)
{
	return code >> 20 & 1023;
}
static inline uint32_t code_mib(uint32_t code)
{
	return code & ((1 << 20) - 1);
}

/* A score in one word: its byte (0 = does not fit), and the first GPU taken, as an index of
 * cap.gpus. A struct of two bytes would pass through memory. */
static inline uint32_t rated(uint8_t byte, size_t pick)
{
	return (uint32_t)byte << 8 | (uint32_t)pick;
}
static inline uint8_t rated_byte(uint32_t r)
{
	return (uint8_t)(r >> 8);
}
static inline uint8_t rated_pick(uint32_t r)
{
	return (uint8_t)r;
}

#endif
