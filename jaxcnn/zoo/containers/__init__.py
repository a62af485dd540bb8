"""Bounded parsers (zip, tar, pickle, protobuf, FlatBuffers, SSTable, HDF5, MAT) that know no framework."""
