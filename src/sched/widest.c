/* widest.c - the largest byte of a row, with and without vector instructions. */
#include "sched_priv.h"

static uint8_t max_plain(const uint8_t *bytes, size_t n, uint8_t most)
{
	uint8_t max = 0;

	for (size_t i = 0; i < n; i++)
		if (bytes[i] > max && bytes[i] <= most)
			max = bytes[i];
	return max;
}

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx2"))) static uint8_t max_avx2(const uint8_t *bytes, size_t n,
							uint8_t most)
{
	const __m256i limit = _mm256_set1_epi8((char)most);
	__m256i a = _mm256_setzero_si256(), b = a;
	__m128i m;

	for (size_t i = 0; i < n; i += ROW_ALIGN) {
		__m256i x = _mm256_loadu_si256((const __m256i *)(bytes + i));
		__m256i y = _mm256_loadu_si256((const __m256i *)(bytes + i + 32));

		/* What is above the limit is not its own minimum with it, and counts as 0. */
		x = _mm256_and_si256(x, _mm256_cmpeq_epi8(_mm256_min_epu8(x, limit), x));
		y = _mm256_and_si256(y, _mm256_cmpeq_epi8(_mm256_min_epu8(y, limit), y));
		a = _mm256_max_epu8(a, x);
		b = _mm256_max_epu8(b, y);
	}
	a = _mm256_max_epu8(a, b);
	m = _mm_max_epu8(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
	m = _mm_max_epu8(m, _mm_srli_si128(m, 8));
	m = _mm_max_epu8(m, _mm_srli_si128(m, 4));
	m = _mm_max_epu8(m, _mm_srli_si128(m, 2));
	m = _mm_max_epu8(m, _mm_srli_si128(m, 1));
	return (uint8_t)_mm_cvtsi128_si32(m);
}

uint8_t gt_sched_row_max(const uint8_t *bytes, size_t n, uint8_t most, bool portable)
{
	if (!portable && __builtin_cpu_supports("avx2"))
		return max_avx2(bytes, n, most);
	return max_plain(bytes, n, most);
}
#else
uint8_t gt_sched_row_max(const uint8_t *bytes, size_t n, uint8_t most, bool portable)
{
	(void)portable; /* the compiler's own vectors */
	return max_plain(bytes, n, most);
}
#endif
