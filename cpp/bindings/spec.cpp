// A network's sizes and options, and where its parameters lie.
#include <pybind11/stl.h>

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/register.h"
#include "engine.h"

namespace fastbptt::bindings {

void register_spec(py::module_& m) {
  using py::arg;
  py::class_<Spec>(m, "Spec")
      .def(py::init([](std::string cell, i64 inputs, i64 hidden, i64 outputs, bool bias, i64 layers, bool bidirectional,
                       double dropout, std::vector<double> setting, bool learn_setting, bool learn_state,
                       i64 vocabulary, i64 padding_index, bool freeze_embedding, bool bfloat16, int output_bias,
                       py::handle read_units, i64 static_size, double input_noise, double recurrent_noise,
                       bool noise_by_setting, double recurrent_dropout, std::pair<double, double> zoneout, i64 rank) {
             Spec spec;
             spec.cell = std::move(cell);
             spec.inputs = inputs;
             spec.hidden = hidden;
             spec.outputs = outputs;
             spec.bias = bias;
             spec.layers = layers;
             spec.bidirectional = bidirectional;
             spec.dropout = dropout;
             spec.setting = std::move(setting);
             spec.learn_setting = learn_setting;
             spec.learn_state = learn_state;
             spec.vocabulary = vocabulary;
             spec.padding_index = padding_index;
             spec.freeze_embedding = freeze_embedding;
             spec.bfloat16 = bfloat16;
             spec.output_bias = output_bias;
             if (!read_units.is_none()) {
               const auto count = static_cast<i64>(py::len(read_units));
               const i64* units = integers(read_units, "read_units", count);
               spec.read_units.assign(units, units + count);
             }
             spec.static_size = static_size;
             spec.input_noise = input_noise;
             spec.recurrent_noise = recurrent_noise;
             spec.noise_by_setting = noise_by_setting;
             spec.recurrent_dropout = recurrent_dropout;
             std::tie(spec.zoneout[0], spec.zoneout[1]) = zoneout;
             spec.rank = rank;
             layout(spec);  // throws if it is not a network
             return spec;
           }),
           arg("cell"), arg("input_size"), arg("hidden_size"), arg("output_size") = 0, py::kw_only(),
           arg("bias") = true, arg("num_layers") = 1, arg("bidirectional") = false, arg("dropout") = 0.0,
           arg("setting") = std::vector<double>(), arg("learn_setting") = false, arg("learn_state") = false,
           arg("vocabulary") = 0, arg("padding_index") = -1, arg("freeze_embedding") = false, arg("bfloat16") = false,
           arg("output_bias") = -1, arg("read_units") = py::none(), arg("static_size") = 0, arg("input_noise") = 0.0,
           arg("recurrent_noise") = 0.0, arg("noise_by_setting") = false, arg("recurrent_dropout") = 0.0,
           arg("zoneout") = std::pair(0.0, 0.0), arg("rank") = 0)
      .def_readonly("cell", &Spec::cell)
      .def_readonly("input_size", &Spec::inputs)
      .def_readonly("hidden_size", &Spec::hidden)
      .def_readonly("output_size", &Spec::outputs)
      .def_readonly("bias", &Spec::bias)
      .def_readonly("num_layers", &Spec::layers)
      .def_readonly("bidirectional", &Spec::bidirectional)
      .def_readonly("dropout", &Spec::dropout)
      .def_readonly("setting", &Spec::setting)
      .def_readonly("learn_setting", &Spec::learn_setting)
      .def_readonly("learn_state", &Spec::learn_state)
      .def_readonly("vocabulary", &Spec::vocabulary)
      .def_readonly("padding_index", &Spec::padding_index)
      .def_readonly("freeze_embedding", &Spec::freeze_embedding)
      .def_readonly("bfloat16", &Spec::bfloat16)
      .def_readonly("output_bias", &Spec::output_bias)
      .def_readonly("read_units", &Spec::read_units)
      .def_readonly("static_size", &Spec::static_size)
      .def_readonly("input_noise", &Spec::input_noise)
      .def_readonly("recurrent_noise", &Spec::recurrent_noise)
      .def_readonly("noise_by_setting", &Spec::noise_by_setting)
      .def_readonly("recurrent_dropout", &Spec::recurrent_dropout)
      .def_property_readonly("zoneout", [](const Spec& spec) { return std::pair(spec.zoneout[0], spec.zoneout[1]); })
      .def_readonly("rank", &Spec::rank);
  m.def(
      "layout",
      [](const Spec& spec) {
        py::list all;
        for (const Parameter& p : layout(spec))
          all.append(py::make_tuple(p.name, py::tuple(py::cast(p.shape)), p.offset));
        return all;
      },
      arg("spec"));
}

}  // namespace fastbptt::bindings
