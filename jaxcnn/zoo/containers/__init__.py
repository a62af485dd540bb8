"""Bounded parsers of containers (zip, pickle, protobuf, FlatBuffers, HDF5, MAT, SSTable) that know no framework."""
