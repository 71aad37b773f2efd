"""Watchers: what a runner tells, as log lines, as progress on a terminal."""
