#!/bin/sh
# Keeps packages from starting their services during a build.
exit 101
