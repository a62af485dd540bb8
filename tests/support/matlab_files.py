"""Writes files as MATLAB writes them, of versions 5 to 7.3."""

import struct

import h5py
import numpy as np
import scipy.io


class Records(list):
    """An array of structs, where a list is a cell."""


def for_scipy(value):
    """Converts a value to what scipy writes as the same value of MATLAB."""
    if isinstance(value, dict):
        return {key: for_scipy(part) for key, part in value.items()}
    if isinstance(value, Records):
        array = np.zeros((1, len(value)), [(key, object) for key in value[0]])
        for place, record in enumerate(value):
            array[0, place] = tuple(for_scipy(part) for part in record.values())
        return array
    if isinstance(value, list):
        cell = np.empty((1, len(value)), object)
        for place, part in enumerate(value):
            cell[0, place] = for_scipy(part)
        return cell
    return value


def matlab_shape(array):
    """MATLAB has two axes at least and drops further ones of size 1 at the end."""
    shape = list(array.shape) if array.ndim > 1 else [1, array.size]
    while len(shape) > 2 and shape[-1] == 1:
        shape.pop()
    return shape


CLASSES = {"float64": "double", "float32": "single", "bool": "logical", "uint8": "uint8", "int32": "int32"}


class Writer73:
    """Writes values as MATLAB 7.3 does: axes reversed, cells and arrays of structs as references."""

    def __init__(self, file):
        self.file, self.count = file, 0
        self.refs = file.create_group("#refs#")

    def reference(self, value):
        self.count += 1
        name = f"r{self.count}"
        self.put(self.refs, name, value)
        return self.refs[name].ref

    def put(self, group, name, value):
        if isinstance(value, dict):
            inner = group.create_group(name)
            for key, part in value.items():
                self.put(inner, key, part)
            return self.mark(inner, "struct")
        if isinstance(value, Records):
            inner = group.create_group(name)
            for key in value[0]:
                inner[key] = np.array([[self.reference(record[key])] for record in value], h5py.ref_dtype)
            return self.mark(inner, "struct")
        if isinstance(value, list) and value:
            group[name] = np.array([[self.reference(part)] for part in value], h5py.ref_dtype)
            return self.mark(group[name], "cell")
        if isinstance(value, str) and value:
            group[name] = np.array([[ord(letter)] for letter in value], np.uint16)
            return self.mark(group[name], "char")
        array = np.asarray(value)
        kind = {list: "cell", str: "char"}.get(type(value)) or CLASSES[array.dtype.name]
        if not array.size or isinstance(value, str):
            group[name] = np.array([0, 0], np.uint64)
            group[name].attrs["MATLAB_empty"] = np.uint8(1)
            return self.mark(group[name], kind)
        array = np.asfortranarray(array.reshape(matlab_shape(array))).T
        array = array.astype(np.uint8) if array.dtype == bool else array
        group.create_dataset(name, data=array, compression="gzip" if array.size > 500 else None)
        return self.mark(group[name], kind)

    def mark(self, node, kind):
        node.attrs["MATLAB_class"] = np.bytes_(kind)


def write(path, form, variables):
    """Writes variables in one of MATLAB's forms."""
    if form != "v7.3":
        scipy.io.savemat(path, for_scipy(variables), do_compression=form == "v7")
        return path
    with h5py.File(path, "w", userblock_size=512) as file:
        writer = Writer73(file)
        for name, value in variables.items():
            writer.put(file, name, value)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + struct.pack("<H", 0x0200) + b"IM"
    with open(path, "r+b") as file:
        file.write(header)
    return path
