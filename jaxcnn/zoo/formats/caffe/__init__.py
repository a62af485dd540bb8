"""Weight files of Caffe."""
