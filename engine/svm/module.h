/* SPDX-License-Identifier: GPL-2.0-only */
/* What the host layer knows of this engine. */
#ifndef ANYKVM_ENGINE_SVM_MODULE_H
#define ANYKVM_ENGINE_SVM_MODULE_H

struct engine_ops;

int svm_init(void);  /* 0; -ENODEV without AMD-V and nested paging, -EBUSY if somebody else uses it */
void svm_exit(void);
extern const struct engine_ops engine_svm;

#endif
