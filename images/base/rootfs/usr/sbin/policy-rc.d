#!/bin/sh
# No package starts its service while it is installed: there is nothing in a build that could keep it running.
exit 101
