/* widest.c - the largest byte of a row, with and without vector instructions. */
#include "sched_priv.h"

static uint8_t max_plain(const uint8_t *bytes, size_t n)
{
	uint8_t max = 0;

	for (size_t i = 0; i < n; i++)
		max = GT_MAX(max, bytes[i]);
	return max;
}

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx2"))) static uint8_t max_avx2(const uint8_t *bytes, size_t n)
{
	__m256i a = _mm256_setzero_si256(), b = a;
	uint8_t lanes[32];

	for (size_t i = 0; i < n; i += ROW_ALIGN) {
		a = _mm256_max_epu8(a, _mm256_loadu_si256((const __m256i *)(bytes + i)));
		b = _mm256_max_epu8(b, _mm256_loadu_si256((const __m256i *)(bytes + i + 32)));
	}
	_mm256_storeu_si256((__m256i *)lanes, _mm256_max_epu8(a, b));
	return max_plain(lanes, sizeof(lanes));
}

uint8_t gt_sched_row_max(const uint8_t *bytes, size_t n, bool portable)
{
	if (!portable && __builtin_cpu_supports("avx2"))
		return max_avx2(bytes, n);
	return max_plain(bytes, n);
}
#else
uint8_t gt_sched_row_max(const uint8_t *bytes, size_t n, bool portable)
{
	(void)portable; /* the compiler's own vectors */
	return max_plain(bytes, n);
}
#endif
