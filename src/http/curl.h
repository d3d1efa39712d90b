/* curl.h - libcurl as this process uses it. */
#ifndef HTTP_CURL_H
#define HTTP_CURL_H

#include <gantry/base/base.h>

/* Before anything else of it, again and again. Its allocations are small ones as ours are: without
 * memory the process ends, instead of going on without an option or a header field that was set. */
GT_MUST_USE int gt_curl_start(void);

#endif
