"""Networks of Caffe and of its forks."""
