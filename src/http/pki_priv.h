/* pki_priv.h - what the files of <gantry/http/pki.h> share. */
#ifndef GANTRY_SRC_HTTP_PKI_PRIV_H
#define GANTRY_SRC_HTTP_PKI_PRIV_H

#include <openssl/bio.h>
#include <openssl/x509.h>

#include <gantry/http/pki.h>

/* "WHAT: WHY", with OpenSSL's reason where it left one; its queue of errors is empty after it. */
int gt_pki_refuse(struct gt_err *err, int code, const char *what, const char *why);
int gt_pki_pass(char *buf, int size, int rw, void *arg); /* nothing here has a passphrase */
/* Reads from `pem`, which must stay; bounded, and one object alone. Free with BIO_free. */
int gt_pki_pem_open(const char *pem, size_t len, const char *what, BIO **ret, struct gt_err *err);
bool gt_pki_p256(const X509_PUBKEY *pub);
int gt_pki_pin_key(const X509_PUBKEY *pub, char ret[GT_PKI_PIN_SIZE], struct gt_err *err);
bool gt_pki_name_ok(const char *name, size_t len);
/* Without padding, with NUL: 4 bytes for each 3. */
void gt_pki_base64url(const unsigned char *data, size_t len, char *out);

#endif
