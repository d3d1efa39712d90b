#include <gantry/base/suggest.h>

#include <string.h>

#define WORD_MAX 40

/* Optimal string alignment distance; words longer than WORD_MAX are never near. */
static size_t distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	unsigned char d[WORD_MAX + 1][WORD_MAX + 1];

	if (n > WORD_MAX || m > WORD_MAX)
		return WORD_MAX;
	for (size_t i = 0; i <= n; i++)
		d[i][0] = (unsigned char)i;
	for (size_t j = 0; j <= m; j++)
		d[0][j] = (unsigned char)j;
	for (size_t i = 1; i <= n; i++) {
		for (size_t j = 1; j <= m; j++) {
			unsigned char best = (unsigned char)(d[i - 1][j - 1] +
							     (a[i - 1] != b[j - 1]));
			best = GT_MIN(best, (unsigned char)(d[i - 1][j] + 1));
			best = GT_MIN(best, (unsigned char)(d[i][j - 1] + 1));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = GT_MIN(best, (unsigned char)(d[i - 2][j - 2] + 1));
			d[i][j] = best;
		}
	}
	return d[n][m];
}

const char *gt_suggest(const char *word, const char *const *candidates, size_t n)
{
	const char *best = NULL;
	size_t least = 3;

	for (size_t i = 0; i < n; i++) {
		size_t d = distance(word, candidates[i]);
		if (d < least && d * 2 < strlen(word) + 1) {
			least = d;
			best = candidates[i];
		}
	}
	return best;
}
