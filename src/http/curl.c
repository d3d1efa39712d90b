/* curl.c - see the header. */
#include "curl.h"

#include <curl/curl.h>
#include <stdlib.h>

static void *allocate(size_t size)
{
	return gt_grow(NULL, size, 1);
}

static void *grow(void *p, size_t size)
{
	return gt_grow(p, size, 1);
}

int gt_curl_start(void)
{
	return curl_global_init_mem(CURL_GLOBAL_DEFAULT, allocate, free, grow, gt_strdup,
				    gt_alloc_array) == CURLE_OK
		       ? 0
		       : -ENOMEM;
}
