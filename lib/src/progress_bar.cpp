// Draws the line of a progress_meter.
#include <bulkhead/progress_bar.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <sys/ioctl.h>
#include <unistd.h>

namespace bulkhead {
namespace {

using clock = std::chrono::steady_clock;

constexpr auto redraw_every = std::chrono::milliseconds(100);
constexpr auto line_every = std::chrono::seconds(5);
constexpr std::size_t columns_usual = 80;
constexpr std::size_t bar_columns_max = 40;
/// Below, a bar says nothing.
constexpr std::size_t bar_columns_min = 8;

std::size_t terminal_columns() {
    winsize size{};
    if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return columns_usual;
    return size.ws_col;
}

/// "0.7 s", "12 s", "3:05", "2:00:00".
std::string duration_text(double seconds) {
    const auto all = static_cast<std::uint64_t>(std::llround(std::min(seconds, 3.6e9)));
    std::array<char, 48> text;
    if (seconds < 10) {
        std::snprintf(text.data(), text.size(), "%.1f s", seconds);
        return text.data();
    }
    if (all < 60) return std::to_string(all) + " s";
    const auto hours = static_cast<unsigned long long>(all / 3600);
    const auto minutes = static_cast<unsigned long long>(all / 60 % 60);
    const auto rest = static_cast<unsigned long long>(all % 60);
    if (hours == 0) {
        std::snprintf(text.data(), text.size(), "%llu:%02llu", minutes, rest);
    } else {
        std::snprintf(text.data(), text.size(), "%llu:%02llu:%02llu", hours, minutes, rest);
    }
    return text.data();
}

std::string rate_text(double per_second) {
    std::array<char, 32> text;
    const int digits = per_second < 10 ? 2 : per_second < 100 ? 1 : 0;
    std::snprintf(text.data(), text.size(), "%.*f/s", digits, per_second);
    return text.data();
}

/// Where to cut UTF-8, at most at `bytes`.
std::size_t whole_characters(const std::string& text, std::size_t bytes) {
    while (bytes != 0 && (static_cast<unsigned char>(text[bytes]) & 0xc0U) == 0x80U) --bytes;
    return bytes;
}

void print(const std::string& line) noexcept {
    (void)std::fwrite(line.data(), 1, line.size(), stderr);
    (void)std::fflush(stderr);
}

}  // namespace

struct progress_meter::state {
    explicit state(progress_bar_options given)
        : options(std::move(given)),
          on_terminal(::isatty(STDERR_FILENO) != 0),
          shown(on_terminal || options.always) {}

    void show_if_due() {
        if (!shown) return;
        const auto now = clock::now();
        if (now < due) return;
        due = now + (on_terminal ? clock::duration(redraw_every) : clock::duration(line_every));
        show(now, false);
    }

    void show(clock::time_point now, bool at_end) const {
        const std::string figures = figures_text(now, at_end);
        if (!on_terminal) {
            print(prefix() + figures + '\n');
            return;
        }
        // One column less: the cursor's.
        const std::size_t columns = terminal_columns() - 1;
        std::string line = prefix();
        if (options.total) {
            const std::size_t others = line.size() + figures.size() + 3;
            const std::size_t room = columns > others ? columns - others : 0;
            const std::size_t width = std::min(room, bar_columns_max);
            if (width >= bar_columns_min) line += '[' + bar_text(width) + "] ";
        }
        line += figures;
        if (line.size() > columns) line.resize(whole_characters(line, columns));
        print("\r" + line + "\033[K" + (at_end ? "\n" : ""));
    }

    [[nodiscard]] std::string prefix() const {
        return options.label.empty() ? std::string() : options.label + ": ";
    }

    [[nodiscard]] double part_done() const {
        if (!options.total || *options.total == 0) return 1;
        return std::min(1.0, static_cast<double>(done) / static_cast<double>(*options.total));
    }

    [[nodiscard]] std::string bar_text(std::size_t width) const {
        const auto full =
            static_cast<std::size_t>(std::floor(part_done() * static_cast<double>(width)));
        return std::string(full, '#') + std::string(width - full, '.');
    }

    [[nodiscard]] std::string figures_text(clock::time_point now, bool at_end) const {
        const double seconds = std::chrono::duration<double>(now - started).count();
        const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
        std::string text = std::to_string(done);
        if (options.total) {
            text += '/' + std::to_string(*options.total) + " (" +
                    std::to_string(static_cast<int>(part_done() * 100)) + " %)";
        }
        text += ", " + rate_text(rate);
        if (at_end) {
            text += ", took " + duration_text(seconds);
        } else if (options.total && rate > 0 && done < *options.total) {
            text +=
                ", " + duration_text(static_cast<double>(*options.total - done) / rate) + " left";
        }
        return text;
    }

    progress_bar_options options;
    bool on_terminal;
    bool shown;
    std::uint64_t done = 0;
    clock::time_point started = clock::now();
    clock::time_point due = started + redraw_every;
};

progress_meter::progress_meter(progress_bar_options options)
    : state_(std::make_unique<state>(std::move(options))) {}

progress_meter::progress_meter(progress_meter&&) noexcept = default;

progress_meter::~progress_meter() { finish(); }

void progress_meter::advance(std::uint64_t steps) {
    if (!state_) return;  // moved from
    state_->done += steps;
    state_->show_if_due();
}

void progress_meter::set(std::uint64_t done) {
    if (!state_) return;
    state_->done = done;
    state_->show_if_due();
}

void progress_meter::finish() noexcept {
    if (!state_ || !state_->shown) return;
    state_->shown = false;
    try {
        state_->show(clock::now(), true);
    } catch (...) {
        // No memory for a line: then there is none.
    }
}

std::uint64_t progress_meter::done() const noexcept { return state_ ? state_->done : 0; }

}  // namespace bulkhead
