// A text service on platen's public header alone: a thread a connection, one engine for all, so
// that requests that arrive together run as one batch. Text is sent as it is generated.
//   curl -N localhost:8080 -d '{"prompt": "Once upon a time", "max_tokens": 64}'
#include "runtime/engine/platen.h"

#include <boost/asio.hpp>
#include <boost/beast.hpp>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

namespace http = boost::beast::http;
using boost::asio::ip::tcp;
using platen::engine::Engine;

platen::base::Result<uint64_t> submit(Engine &engine, const std::string &body) try {
  auto json = nlohmann::json::parse(body);
  platen::engine::Request request;
  request.prompt = json.at("prompt");
  request.max_tokens = json.value("max_tokens", 128);
  request.sampling.temperature = json.value("temperature", 0.0F);
  request.stop = json.value("stop", request.stop);
  return engine.submit(std::move(request));
} catch (const nlohmann::json::exception &wrong) {
  return platen::base::invalidArgument(wrong.what());
}

void serve(Engine &engine, tcp::socket socket) {
  boost::beast::error_code failure;
  boost::beast::flat_buffer buffer;
  http::request<http::string_body> query;
  http::read(socket, buffer, query, failure);
  auto id = submit(engine, query.body());
  http::response<http::empty_body> head(id ? http::status::ok : http::status::bad_request, 11);
  head.chunked(true);
  http::response_serializer<http::empty_body> serializer(head);
  write_header(socket, serializer, failure);
  std::string text = id ? *engine.read(*id) : id.status().toString();
  for (; !text.empty() && !failure; text = id ? *engine.read(*id) : "")
    write(socket, http::make_chunk(boost::asio::buffer(text)), failure);
  if (id && failure) // the client went away
    (void)engine.cancel(*id);
  if (id)
    (void)engine.wait(*id);
  write(socket, http::make_chunk_last(), failure);
}

int main(int argc, char **argv) {
  auto engine = Engine::load(argc > 1 ? argv[1] : "model.plan");
  if (auto status = engine ? engine->start() : engine.status(); !status)
    return std::cerr << status.toString() << "\n", 1;
  boost::asio::io_context io;
  tcp::acceptor acceptor(io, {tcp::v4(), uint16_t(argc > 2 ? std::stoi(argv[2]) : 8080)});
  std::cout << "serving on port " << acceptor.local_endpoint().port() << std::endl;
  while (true)
    std::thread(serve, std::ref(*engine), acceptor.accept()).detach();
}
