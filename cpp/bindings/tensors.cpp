#include "bindings/tensors.h"

#include <cstddef>
#include <new>

#include "bindings/register.h"

namespace fastbptt::bindings {

namespace {

constexpr std::int32_t on_cpu = 1;
constexpr std::uint8_t floating = 2;
constexpr std::size_t alignment = 64;

struct DLVersion {
  std::uint32_t major, minor;
};

struct DLManagedTensor {
  DLTensor tensor;
  void* context;
  void (*deleter)(DLManagedTensor*);
};

struct DLManagedTensorVersioned {
  DLVersion version;
  void* context;
  void (*deleter)(DLManagedTensorVersioned*);
  std::uint64_t flags;
  DLTensor tensor;
};

// What __dlpack_c_exchange_api__ points to: functions that take Python objects
struct DLExchange {
  DLVersion version;
  DLExchange* previous;
  void* allocate;
  void* from_object;
  int (*to_object)(DLManagedTensorVersioned*, void**);
  int (*view)(void*, DLTensor*);
  void* stream;
};

// PyTorch's doors: `exchange` since 2.10, before that a capsule for each tensor
const DLExchange* exchange = nullptr;
PyObject *to_capsule = nullptr, *from_capsule = nullptr;

void use_tensors(const py::object& api, const py::object& to, const py::object& from) {
  exchange = nullptr;
  if (!api.is_none()) {
    const auto* found = static_cast<const DLExchange*>(PyCapsule_GetPointer(api.ptr(), "dlpack_exchange_api"));
    if (!found) throw py::error_already_set();
    if (found->version.major == 1 && found->view && found->to_object) exchange = found;
  }
  Py_XSETREF(to_capsule, py::object(to).release().ptr());
  Py_XSETREF(from_capsule, py::object(from).release().ptr());
}

// A tensor's numbers and all that describes them, in one piece of memory
template <class Managed>
struct Owned {
  Managed managed;
  std::int64_t shape[Shape::most], strides[Shape::most];

  static constexpr std::size_t start() { return (sizeof(Owned) + alignment - 1) / alignment * alignment; }
  static void release(Managed* managed) { ::operator delete(managed, std::align_val_t(alignment)); }

  static Managed* make(Dtype dtype, const Shape& shape, void*& data) {
    std::int64_t count = 1;
    for (const i64 size : shape) count *= size;
    const std::size_t item = dtype == Dtype::f32 ? 4 : 8;
    const std::size_t bytes = start() + static_cast<std::size_t>(count) * item;
    void* memory = ::operator new(bytes, std::align_val_t(alignment));
    auto* made = new (memory) Owned{};
    data = static_cast<std::byte*>(memory) + start();
    std::int64_t stride = 1;
    for (std::size_t i = shape.size(); i-- > 0; stride *= shape[i]) {
      made->shape[i] = shape[i];
      made->strides[i] = stride;
    }
    made->managed.tensor = {.data = data,
                            .device = {on_cpu, 0},
                            .ndim = static_cast<std::int32_t>(shape.size()),
                            .dtype = {floating, static_cast<std::uint8_t>(8 * item), 1},
                            .shape = made->shape,
                            .strides = made->strides,
                            .byte_offset = 0};
    made->managed.deleter = &release;
    return &made->managed;
  }
};

void release_capsule(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, "dltensor")) return;  // "used_dltensor": a tensor owns it
  auto* managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor"));
  managed->deleter(managed);
}

}  // namespace

bool TensorReader::read(py::handle tensor, Dtype dtype, const Shape& expected, DLTensor& out) {
  if (exchange) {
    if (exchange->view(tensor.ptr(), &out) != 0) {
      PyErr_Clear();
      return false;
    }
  } else {
    auto capsule = py::reinterpret_steal<py::object>(PyObject_CallOneArg(to_capsule, tensor.ptr()));
    void* managed = capsule ? PyCapsule_GetPointer(capsule.ptr(), "dltensor") : nullptr;
    if (!managed) {
      PyErr_Clear();
      return false;
    }
    out = static_cast<DLManagedTensor*>(managed)->tensor;
    capsules_.push_back(std::move(capsule));
  }
  const std::uint8_t bits = dtype == Dtype::f32 ? 32 : 64;
  if (out.device.type != on_cpu || out.dtype.code != floating || out.dtype.bits != bits || out.dtype.lanes != 1)
    return false;
  out.data = static_cast<std::byte*>(out.data) + out.byte_offset;
  return out.ndim == static_cast<std::int32_t>(expected.size()) &&
         std::equal(expected.begin(), expected.end(), out.shape, [](i64 a, i64 b) { return a < 0 || a == b; }) &&
         reinterpret_cast<std::uintptr_t>(out.data) % (bits / 8) == 0;
}

std::optional<Array> TensorReader::view(py::handle tensor, Dtype dtype, const Shape& expected) {
  DLTensor found{};
  if (!read(tensor, dtype, expected, found)) return std::nullopt;
  Array out;
  out.data = found.data;
  out.dtype = dtype;
  i64 contiguous = 1;
  for (std::size_t i = expected.size(); i-- > 0; contiguous *= found.shape[i]) {
    const i64 stride = found.strides ? found.strides[i] : contiguous;
    out.shape[i] = found.shape[i];
    out.strides[i] = found.shape[i] > 1 ? stride * (dtype == Dtype::f32 ? 4 : 8) : 0;
  }
  return out;
}

const void* TensorReader::contiguous(py::handle tensor, Dtype dtype, const Shape& expected) {
  DLTensor found{};
  if (!read(tensor, dtype, expected, found)) return nullptr;
  i64 stride = 1;
  for (std::size_t i = expected.size(); i-- > 0; stride *= expected[i])
    if (found.strides && expected[i] > 1 && found.strides[i] != stride) return nullptr;
  return found.data;
}

py::object new_tensor(Dtype dtype, const Shape& shape, void*& data) {
  if (exchange) {
    auto* managed = Owned<DLManagedTensorVersioned>::make(dtype, shape, data);
    managed->version = {1, 0};
    void* made = nullptr;
    if (exchange->to_object(managed, &made) != 0) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(static_cast<PyObject*>(made));
  }
  auto* managed = Owned<DLManagedTensor>::make(dtype, shape, data);
  const auto capsule = py::reinterpret_steal<py::object>(PyCapsule_New(managed, "dltensor", &release_capsule));
  if (!capsule) throw py::error_already_set();
  auto made = py::reinterpret_steal<py::object>(PyObject_CallOneArg(from_capsule, capsule.ptr()));
  if (!made) throw py::error_already_set();
  return made;
}

void register_tensors(py::module_& m) {
  m.def("use_tensors", &use_tensors, py::arg("exchange"), py::arg("to_capsule"), py::arg("from_capsule"));
}

}  // namespace fastbptt::bindings
