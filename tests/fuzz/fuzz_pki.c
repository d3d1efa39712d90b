/* fuzz_pki.c - PEM text from strangers. A request is signed only into a certificate that names whom
 * control said; a certificate's identity has a name of the one alphabet; each refusal says why. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/http/pki.h>

#define NOW 1900000000000ULL

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static struct gt_pki_ca *authority(void)
{
	static struct gt_pki_ca *ca;
	struct gt_buf key = { 0 }, cert = { 0 };
	struct gt_err err;

	if (ca)
		return ca;
	must(gt_pki_ca_new(NOW, &key, &cert, &err) == 0);
	must(gt_pki_ca_open(key.data, cert.data, &ca, &err) == 0);
	gt_buf_wipe(&key);
	gt_buf_fini(&cert);
	return ca;
}

static void request(const char *pem, size_t len)
{
	gt_auto(buf) struct gt_buf cert = { 0 };
	struct gt_err err = { 0 };
	struct gt_pki_id id;

	if (gt_pki_sign(authority(), pem, len, GT_PKI_NODE, "n", NOW, 60000, &cert, &err) < 0) {
		must(err.text[0] != '\0');
		return;
	}
	must(gt_pki_identity_pem(cert.data, cert.len, &id, &err) == 0);
	must(id.kind == GT_PKI_NODE && strcmp(id.name, "n") == 0);
	must(id.not_after_ms == NOW + 60000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	gt_auto(pki_key) struct evp_pkey_st *key = NULL;
	char pin[GT_PKI_PIN_SIZE], token[GT_PKI_TOKEN_SIZE + 8];
	const char *pem = (const char *)data;
	struct gt_err err = { 0 };
	struct gt_pki_id id;

	request(pem, len);
	if (gt_pki_identity_pem(pem, len, &id, &err) == 0)
		must(id.name[0] && id.not_before_ms <= id.not_after_ms &&
		     strspn(id.name, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(id.name));
	else
		must(err.text[0] != '\0');
	must(gt_pki_key_read(pem, len, &key, &err) == 0 || err.text[0] != '\0');
	memset(token, 0, sizeof(token));
	memcpy(token, data, GT_MIN(len, sizeof(token) - 1));
	if (gt_pki_token_pin(token, pin, &err) == 0)
		must(strlen(pin) == GT_PKI_PIN_SIZE - 1);
	return 0;
}
