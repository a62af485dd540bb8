"""Networks of MatConvNet, SimpleNN and DagNN."""
