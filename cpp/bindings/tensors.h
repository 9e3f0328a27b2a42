// PyTorch's tensors, by way of DLPack: views of their memory, and new ones over memory of ours. Nothing of PyTorch is
// compiled in; the structures are those of DLPack's ABI, version 1.
#ifndef FASTBPTT_BINDINGS_TENSORS_H
#define FASTBPTT_BINDINGS_TENSORS_H

#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <vector>

#include "bindings/arrays.h"
#include "engine.h"

namespace fastbptt::bindings {

namespace py = pybind11;

struct DLDevice {
  std::int32_t type, id;
};

struct DLDataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

struct DLTensor {
  void* data;
  DLDevice device;
  std::int32_t ndim;
  DLDataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: contiguous
  std::uint64_t byte_offset;
};

// Reads tensors; the views are valid as long as the reader and the tensors are.
class TensorReader {
 public:
  // A view of a tensor on the CPU with this dtype and shape, in which -1 is any size; nothing if it is another one
  std::optional<Array> view(py::handle tensor, Dtype dtype, const Shape& expected);
  // Its contiguous numbers; null likewise
  const void* contiguous(py::handle tensor, Dtype dtype, const Shape& expected);

 private:
  bool read(py::handle tensor, Dtype dtype, const Shape& expected, DLTensor& out);
  std::vector<py::object> capsules_;
};

// A new contiguous tensor; its memory is not set
py::object new_tensor(Dtype dtype, const Shape& shape, void*& data);

}  // namespace fastbptt::bindings

#endif
