// The C program's turn-taking, as C++ code would have it: the handles in unique_ptr.
#include <upstream/upstream.h>

#include <iostream>
#include <memory>
#include <string>

int main() {
    const std::string text = "[UPSTREAM]\n name two\n"
                             "[NODE]\n name node-1\n host 127.0.0.1\n port 43000\n"
                             "[NODE]\n name node-2\n host 127.0.0.1\n port 44000\n";
    upstream_t *created = nullptr;
    upstream_error_t *failure = nullptr;
    upstream_status_t status = upstream_create_from_text(text.data(), text.size(), "consumer", nullptr, &created, &failure);
    std::unique_ptr<upstream_t, decltype(&upstream_destroy)> up(created, upstream_destroy);
    std::unique_ptr<upstream_error_t, decltype(&upstream_error_free)> err(failure, upstream_error_free);

    if (status != UPSTREAM_OK) {
        std::cerr << upstream_error_message(err.get()) << '\n';
        return 1;
    }
    std::cout << "upstream " << upstream_version() << ':';
    for (int i = 0; i < 4; i++) {
        std::cout << ' ' << upstream_node_name(upstream_next_node(up.get()));
    }
    std::cout << '\n';
}
