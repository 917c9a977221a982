<!DOCTYPE qgis PUBLIC "http://mrcc.com/qgis.dtd" "SYSTEM">
<!-- Landslides by their mean probability: the surer, the darker; half transparent, the outlines stay visible on a scene.
     Orange of Okabe and Ito (2008). -->
<qgis version="3.22.0" styleCategories="Symbology">
  <renderer-v2 type="graduatedSymbol" attr="probability_mean" graduatedMethod="GraduatedColor" symbollevels="0">
    <ranges>
      <range lower="0.0" upper="0.6" symbol="0" label="0 to 0.6" render="true"/>
      <range lower="0.6" upper="0.8" symbol="1" label="0.6 to 0.8" render="true"/>
      <range lower="0.8" upper="1.0" symbol="2" label="0.8 to 1" render="true"/>
    </ranges>
    <symbols>
      <symbol type="fill" name="0" alpha="1">
        <layer class="SimpleFill" enabled="1" pass="0">
          <Option type="Map">
            <Option type="QString" name="color" value="254,224,182,140"/>
            <Option type="QString" name="outline_color" value="120,50,0,255"/>
            <Option type="QString" name="outline_width" value="0.3"/>
            <Option type="QString" name="outline_width_unit" value="MM"/>
            <Option type="QString" name="outline_style" value="solid"/>
            <Option type="QString" name="style" value="solid"/>
          </Option>
        </layer>
      </symbol>
      <symbol type="fill" name="1" alpha="1">
        <layer class="SimpleFill" enabled="1" pass="0">
          <Option type="Map">
            <Option type="QString" name="color" value="230,159,0,140"/>
            <Option type="QString" name="outline_color" value="120,50,0,255"/>
            <Option type="QString" name="outline_width" value="0.3"/>
            <Option type="QString" name="outline_width_unit" value="MM"/>
            <Option type="QString" name="outline_style" value="solid"/>
            <Option type="QString" name="style" value="solid"/>
          </Option>
        </layer>
      </symbol>
      <symbol type="fill" name="2" alpha="1">
        <layer class="SimpleFill" enabled="1" pass="0">
          <Option type="Map">
            <Option type="QString" name="color" value="179,88,6,140"/>
            <Option type="QString" name="outline_color" value="120,50,0,255"/>
            <Option type="QString" name="outline_width" value="0.3"/>
            <Option type="QString" name="outline_width_unit" value="MM"/>
            <Option type="QString" name="outline_style" value="solid"/>
            <Option type="QString" name="style" value="solid"/>
          </Option>
        </layer>
      </symbol>
    </symbols>
  </renderer-v2>
</qgis>
