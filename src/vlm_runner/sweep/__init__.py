"""Many runs that differ in a few values: images uploaded once, jobs and throughputs in turn, one table."""
