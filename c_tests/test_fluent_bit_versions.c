/*
 * The plugin for Fluent Bit at its registration: agents before 4.2.3 have no event_type, and their
 * memory ends before it. This program exports the functions of an agent, at first those of an old
 * one.
 */
#define _GNU_SOURCE
#include "support/check.h"

#include <dlfcn.h>
#include <stddef.h>

struct definition {
    int type;
    int proxy;
    int flags;
    char *name;
    char *description;
    int event_type; /* in an old agent: of somebody else */
};

/* By these functions the plugin recognises an agent, and an agent of 5.0 or later. They are
 * exported, like an agent's. */
const char *flb_output_get_property(const char *key, void *output);

const char *flb_output_get_property(const char *key, void *output)
{
    (void)key;
    (void)output;
    return NULL;
}

static int event_type_of_the_plugin(int before)
{
    int (*enlist)(struct definition *);
    struct definition definition = {.event_type = before};
    void *plugin = dlopen(getenv("FLUENT_BIT_PLUGIN"), RTLD_LAZY);
    assert_non_null(plugin);
    *(void **)&enlist = dlsym(plugin, "FLBPluginRegister");
    assert_int_equal(enlist(&definition), 0);
    assert_int_equal(definition.type, 2);
    assert_string_equal(definition.name, "upstream");
    free(definition.name);
    free(definition.description);
    assert_int_equal(dlclose(plugin), 0);
    return definition.event_type;
}

static void an_old_agents_memory_is_left_alone(void **state)
{
    (void)state;
    assert_int_equal(event_type_of_the_plugin(0x5a5a5a5a), 0x5a5a5a5a);
}

static void a_new_agent_is_told_of_all_three_signals(void **state)
{
    void *newer = dlopen(NEWER_AGENT, RTLD_NOW | RTLD_GLOBAL); /* the function that came with 5.0 */
    (void)state;
    assert_non_null(newer);
    assert_int_equal(event_type_of_the_plugin(0), 1 | 2 | 4);
    assert_int_equal(dlclose(newer), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_old_agents_memory_is_left_alone),
        cmocka_unit_test(a_new_agent_is_told_of_all_three_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
