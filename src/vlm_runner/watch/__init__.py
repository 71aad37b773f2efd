"""Watchers: a runner's events and signals as log lines, progress, traces and CloudEvents."""
