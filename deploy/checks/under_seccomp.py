#!/usr/bin/env python3
"""Runs a command under a seccomp profile in the form of the OCI runtime specification.

    under_seccomp.py PROFILE COMMAND…

The filter is made by libseccomp, as container runtimes make theirs.
"""

import ctypes
import errno
import json
import os
import sys

PR_SET_NO_NEW_PRIVS = 38
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
COMPARISONS = {"SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6, "SCMP_CMP_MASKED_EQ": 7}
UNKNOWN_CALL = -1


class Comparison(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def action(name, number):
    if name == "SCMP_ACT_ALLOW":
        return ALLOW
    if name == "SCMP_ACT_ERRNO":
        return ERRNO | (errno.EPERM if number is None else number)
    raise ValueError(name)


def checked(result, what):
    if result < 0:
        raise OSError(-result, f"{what}: {os.strerror(-result)}")


def load(profile):
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    default = action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
    for rule in profile["syscalls"]:
        does = action(rule["action"], rule.get("errnoRet"))
        if does == default:
            # libseccomp refuses a rule that equals the default action.
            continue
        comparisons = [Comparison(a["index"], COMPARISONS[a["op"]], a["value"], a.get("valueTwo") or 0) for a in rule.get("args") or []]
        array = (Comparison * len(comparisons))(*comparisons)
        for name in rule["names"]:
            call = library.seccomp_syscall_resolve_name(name.encode())
            if call != UNKNOWN_CALL:
                added = library.seccomp_rule_add_array(context, ctypes.c_uint32(does), call, len(comparisons), array)
                checked(added, name)
    checked(ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    checked(library.seccomp_load(context), "the filter")


def main():
    file, *command = sys.argv[1:]
    with open(file) as profile:
        load(json.load(profile))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
