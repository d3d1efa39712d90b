/* pki_token.c - join tokens: gtj_SECRET_PIN, both in base64url. */
#include "pki_priv.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#define PREFIX     "gtj_"
#define SECRET     24 /* bytes */
#define SECRET_LEN (SECRET / 3 * 4)
#define PIN_LEN    (GT_PKI_PIN_SIZE - 1)

_Static_assert(sizeof(PREFIX) + SECRET_LEN + 1 + PIN_LEN == GT_PKI_TOKEN_SIZE, "a token fits");

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void gt_pki_base64url(const unsigned char *data, size_t len, char *out)
{
	uint32_t bits = 0;
	int n = 0;

	for (size_t i = 0; i < len; i++) {
		bits = bits << 8 | data[i];
		for (n += 8; n >= 6; n -= 6)
			*out++ = alphabet[bits >> (n - 6) & 63];
	}
	if (n > 0)
		*out++ = alphabet[bits << (6 - n) & 63];
	*out = '\0';
}

int gt_pki_token_new(const char *pin, char ret[GT_PKI_TOKEN_SIZE], struct gt_err *err)
{
	unsigned char secret[SECRET];
	char text[SECRET_LEN + 1];

	if (strlen(pin) != PIN_LEN || RAND_bytes(secret, sizeof(secret)) != 1)
		return gt_pki_refuse(err, EINVAL, "join token", "can not be made");
	gt_pki_base64url(secret, sizeof(secret), text);
	snprintf(ret, GT_PKI_TOKEN_SIZE, PREFIX "%s_%s", text, pin);
	OPENSSL_cleanse(secret, sizeof(secret));
	OPENSSL_cleanse(text, sizeof(text));
	return 0;
}

int gt_pki_token_pin(const char *token, char ret[GT_PKI_PIN_SIZE], struct gt_err *err)
{
	/* By their places: the alphabet has '_' in it. */
	if (strlen(token) != GT_PKI_TOKEN_SIZE - 1 || !gt_starts_with(token, PREFIX) ||
	    token[GT_PKI_TOKEN_SIZE - 2 - PIN_LEN] != '_' ||
	    strspn(token, alphabet) != GT_PKI_TOKEN_SIZE - 1)
		return gt_err_set(err, EINVAL, "bad_join_token",
				  "not a join token: `gantry node token` makes one");
	gt_strcopy(ret, GT_PKI_PIN_SIZE, token + GT_PKI_TOKEN_SIZE - 1 - PIN_LEN);
	return 0;
}
