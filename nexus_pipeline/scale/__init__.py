"""Work done elsewhere: on the machines of a cluster that runs on an engine of its own."""
