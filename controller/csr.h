/*
 * Rules of the built-in signers of CertificateSigningRequests.
 */
#pragma once

#include "common/pki.h"
#include "controller/kinds.h"

#define SIGNER_CLIENT "kubernetes.io/kube-apiserver-client"
#define SIGNER_KUBELET_CLIENT "kubernetes.io/kube-apiserver-client-kubelet"
#define SIGNER_KUBELET_SERVING "kubernetes.io/kubelet-serving"

/* The request's PEM (spec.request decoded), parsed. */
int csr_parse(const struct csr *csr, char **ret_pem, struct pki_request *ret, struct error *err);

/* Whether what is asked keeps to its signer's rules; -ERR_INVALID says which is broken. *ret_usage
 * is for the signature. */
int csr_check(const struct csr *csr, const struct pki_request *request, unsigned *ret_usage,
    struct error *err);

/* Whether each name and address in a serving request is one of the Node's, and it is the Node's own
 * request. */
bool csr_names_node(
    const struct csr *csr, const struct pki_request *request, const struct node *node);
