/* What a Fluent Bit of 5.0 or later shows and an older one does not; for
 * test_fluent_bit_versions. */
int flb_output_oauth2_property_check(void);

int flb_output_oauth2_property_check(void)
{
    return 0;
}
